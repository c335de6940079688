#!/bin/sh
# What the demo service of docker-compose.yml does: publishes, waits until all is learned and served, shows it.
set -eu

# Prints how things stand. Succeeds when every stage has read all there is, none has moved for a second, and the
# newest version has learned all of it and serves.
settled() {
    found=$(millstream status --json) || return 1
    printf '%s' "$found" | python -c '
import json, sys

found = json.load(sys.stdin)
model = found["model"]
for role, stage in found["stages"].items():
    print("%s: %d done, lag %d" % (role, stage["done"], stage["lag"]), end="; ")
print("version %s serves" % model["served"], flush=True)
still = not any(stage["lag"] or stage["per_second"] for stage in found["stages"].values())
learned = (model["newest"] or "").rpartition("/")[2] == str(found["stages"]["learner"]["done"])
sys.exit(not (still and learned and model["served"] == model["newest"]))
'
}

millstream publish "$MILLSTREAM_STREAM" "$SOURCE" --rate "$RATE" --label-delay "$LABEL_DELAY"

deadline=$(($(date +%s) + 120))
until settled; do
    if [ "$(date +%s)" -gt "$deadline" ]; then
        echo "not all is learned and served after 120 s; docker compose logs predictor-0 joiner learner says why" >&2
        exit 1
    fi
done

echo
millstream models list
millstream status
