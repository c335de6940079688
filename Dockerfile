# One image, every role: docker run millstream predictor phishing. It brings no broker: MILLSTREAM_BOOTSTRAP names one.

FROM python:3.11-slim AS packages
WORKDIR /src
COPY requirements/runtime.lock .
RUN pip wheel --quiet --no-cache-dir --no-deps --require-hashes --wheel-dir /packages --requirement runtime.lock \
    && pip install --quiet --no-cache-dir --no-deps --no-index --find-links /packages --upgrade setuptools \
    && rm /packages/setuptools-*

FROM packages AS millstream
COPY . .
RUN pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /millstream .

FROM python:3.11-slim
ENV PYTHONHASHSEED=0 PYTHONUNBUFFERED=1 MILLSTREAM_HOME=/var/lib/millstream
# Two steps: a change of the code keeps the layer with everybody else's.
RUN --mount=type=bind,from=packages,source=/packages,target=/packages \
    pip install --quiet --no-cache-dir --no-deps --no-index /packages/*.whl
COPY deploy/compose-demo.sh /usr/local/bin/millstream-compose-demo
# What installs is removed at the end. A folder that exists with its owner gives both to a new volume mounted there.
RUN --mount=type=bind,from=millstream,source=/millstream,target=/millstream \
    pip install --quiet --no-cache-dir --no-deps --no-index /millstream/*.whl \
    && pip uninstall --quiet --yes setuptools wheel pip \
    && chmod 755 /usr/local/bin/millstream-compose-demo \
    && useradd --uid 10001 --home-dir "$MILLSTREAM_HOME" --no-create-home --shell /usr/sbin/nologin millstream \
    && install --directory --owner millstream --group millstream --mode 755 \
        "$MILLSTREAM_HOME" "$MILLSTREAM_HOME/models" "$MILLSTREAM_HOME/state" "$MILLSTREAM_HOME/keys/trusted" \
    && install --directory --owner millstream --group millstream --mode 700 \
        "$MILLSTREAM_HOME/keys" "$MILLSTREAM_HOME/tokens"
USER millstream
WORKDIR /streams
ENTRYPOINT ["millstream"]
CMD ["--help"]
