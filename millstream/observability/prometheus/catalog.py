"""Catalog of all metrics of the roles: kind, help text and labels. Dashboard and rules use no others.

A role also has the metrics of Python and of the process (`process_resident_memory_bytes`, ...). Each metric here has
the labels `stream` and `role`; Prometheus adds `instance`. A version is two numbers and not a label: with a checkpoint
each second, every version would be a series of its own.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Metric(NamedTuple):
    """One metric. A counter's name includes `_total`, as it is scraped."""

    kind: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: tuple[str, ...] = ()


METRICS: Final[dict[str, Metric]] = {
    # every role
    "millstream_build_info": Metric("info", "What runs.", ("process", "version", "river", "python")),
    "millstream_client_info": Metric("info", "Library of the Kafka client, and its version.", ("client", "version")),
    "millstream_ready": Metric("gauge", "1 while the role is at work on its partitions, as /readyz says."),
    "millstream_partitions": Metric("gauge", "Partitions that this process works on."),
    "millstream_last_turn_timestamp_seconds": Metric("gauge", "When the loop last came round."),
    "millstream_last_commit_timestamp_seconds": Metric("gauge", "When a transaction was last committed."),
    "millstream_rebalances_total": Metric("counter", "Assignments that this process has settled."),
    "millstream_records_consumed_total": Metric("counter", "Records processed, by topic.", ("topic",)),
    "millstream_records_produced_total": Metric("counter", "Records committed, by topic.", ("topic",)),
    "millstream_transactions_committed_total": Metric("counter", "Transactions that were committed."),
    "millstream_transactions_overlapped_total": Metric(
        "counter", "Transactions that were committed while the next records were read and processed."
    ),
    "millstream_transactions_aborted_total": Metric(
        "counter", "Transactions that failed or were in doubt, those of this process's predecessors included."
    ),
    "millstream_role_ends_total": Metric(
        "counter", "How this process's predecessors ended: their exit code, or killed.", ("code",)
    ),
    "millstream_dead_letters_total": Metric("counter", "Records refused, by the reason's code.", ("code",)),
    "millstream_lag_records": Metric("gauge", "Offsets that are not read.", ("topic", "partition")),
    "millstream_lag_seconds": Metric(
        "gauge", "Age of the newest record that is read, where there is more to read; else 0.", ("topic", "partition")
    ),
    "millstream_batch_duration_seconds": Metric("histogram", "What processing took, of one batch."),
    "millstream_commit_duration_seconds": Metric("histogram", "What a transaction took."),
    "millstream_record_latency_seconds": Metric(
        "histogram", "From a record's time on the broker to the commit of what was made of it.", ("topic",)
    ),
    # predictor
    "millstream_version_swaps_total": Metric("counter", "Versions that were taken to answer with."),
    "millstream_served_version_epoch": Metric("gauge", "Epoch of the version that answers."),
    "millstream_served_version_examples": Metric("gauge", "Examples that the version that answers has learned."),
    "millstream_served_version_timestamp_seconds": Metric("gauge", "When the version that answers was ready here."),
    "millstream_label_to_served_seconds": Metric(
        "histogram", "From the time of the oldest label that a version newly learned to its being ready to answer."
    ),
    "millstream_events_gone_total": Metric(
        "counter", "Feature events that were gone before anybody answered them.", ("partition",)
    ),
    # HTTP server
    "millstream_http_requests_total": Metric("counter", "Requests that were answered.", ("path", "status")),
    "millstream_http_unlogged_total": Metric("counter", "Answers that are in no log, because of --unlogged."),
    "millstream_spool_bytes": Metric("gauge", "The spool: what is not on Kafka yet, and each worker's last segment."),
    # importer of uploads
    "millstream_uploads_total": Metric("counter", "Uploads by what became of them.", ("state",)),
    "millstream_upload_rows_total": Metric("counter", "Rows of uploads: new examples, and refused ones.", ("state",)),
    "millstream_uploads_waiting": Metric("gauge", "Uploads that have come whole and are not imported yet."),
    # joiner
    "millstream_labels_total": Metric("counter", "Labels by what became of them.", ("partition", "state")),
    "millstream_predictions_left_total": Metric(
        "counter", "Predictions that no label came for in time, or that are not to be joined.", ("partition", "state")
    ),
    "millstream_examples_joined_total": Metric("counter", "Examples written to the log.", ("partition",)),
    "millstream_join_waiting": Metric("gauge", "Predictions and labels without the other.", ("partition", "kind")),
    "millstream_join_oldest_timestamp_seconds": Metric(
        "gauge", "Time of the oldest prediction that waits for its label.", ("partition",)
    ),
    "millstream_join_wait_seconds": Metric("histogram", "Between a prediction and its label, by their times."),
    "millstream_label_to_example_seconds": Metric(
        "histogram", "From a label's time on the broker to the commit of its example."
    ),
    # shadow
    "millstream_shadow_predictions_total": Metric(
        "counter", "Predictions that were shadowed, left out because of the share, or unreadable.", ("state",)
    ),
    "millstream_shadow_answers_total": Metric("counter", "Answers of each model that did not serve.", ("model",)),
    "millstream_shadow_errors_total": Metric("counter", "Events that such a model could not answer.", ("model",)),
    "millstream_shadow_unasked_total": Metric(
        "counter", "Events that came before such a model had a version that has learned anything.", ("model",)
    ),
    "millstream_shadow_share": Metric("gauge", "Share of the events that is shadowed.", ("partition",)),
    "millstream_shadow_unsliced_total": Metric("counter", "Slices in which a shadowed event has no value."),
    # judge
    "millstream_comparisons_total": Metric("counter", "Shadows that were joined with a label.", ("partition",)),
    "millstream_comparisons_waiting": Metric("gauge", "Shadows and labels without the other.", ("partition", "kind")),
    # learner
    "millstream_examples_learned": Metric("gauge", "Examples that the model has learned, in this epoch."),
    "millstream_examples_skipped": Metric("gauge", "Examples that were left out of the model, in this epoch."),
    "millstream_learning_paused": Metric("gauge", "1 while somebody has paused learning."),
    "millstream_model_full": Metric("gauge", "1 where the model is as large as it may be, and learns no more."),
    "millstream_checkpoints_total": Metric("counter", "Versions that were written."),
    "millstream_checkpoint_timestamp_seconds": Metric("gauge", "When the newest version was made."),
    "millstream_checkpoint_epoch": Metric("gauge", "Epoch of the newest version."),
    "millstream_checkpoint_examples": Metric("gauge", "Examples that the newest version has learned."),
    "millstream_checkpoint_unchanged_examples": Metric(
        "gauge",
        "Examples that the model has learned since its answers to the same events changed, at the newest version.",
    ),
    "millstream_checkpoint_duration_seconds": Metric("histogram", "What writing a version took."),
    "millstream_model_size_bytes": Metric("gauge", "The model, as it is stored."),
    "millstream_model_metric": Metric(
        "gauge",
        "The model's metrics at the newest version: progressive, as served, and of the baselines.",
        ("source", "span", "metric"),
    ),
    "millstream_served_worse_than_baseline": Metric(
        "gauge",
        "1 if the first metric of the served answers is worse over the window than a baseline's, else 0; nothing "
        "before the window is full.",
    ),
    # referee
    "millstream_contest_labels": Metric(
        "gauge", "Labelled events that count in the contest, by challenger.", ("model",)
    ),
    "millstream_contest_difference": Metric(
        "gauge",
        "By how much the challenger's mean loss is lower than the serving model's: the mean and its bounds.",
        ("model", "bound"),
    ),
    "millstream_contest_waiting": Metric("gauge", "Labels that have not settled."),
    "millstream_promotions_total": Metric("counter", "Decisions on the serving model, by rule or guard.", ("by",)),
    # trainer
    "millstream_jobs_total": Metric("counter", "Jobs that have ended: done, failed or cancelled.", ("state",)),
    "millstream_job_attempts_total": Metric("counter", "How often a training was begun."),
    "millstream_jobs_waiting": Metric("gauge", "Jobs that wait, beside the one that is trained."),
    "millstream_job_since_timestamp_seconds": Metric(
        "gauge", "When the training that goes on was begun; nothing while none does.", ("model",)
    ),
    "millstream_job_progress": Metric(
        "gauge", "How far the training is, from 0 to 1; nothing while that is not known.", ("model",)
    ),
    "millstream_jobs_deployed_total": Metric("counter", "Versions of jobs that served at once."),
    # monitor
    "millstream_windows_total": Metric("counter", "Windows that were written.", ("topic", "partition")),
    "millstream_watched_events_total": Metric(
        "counter", "Events in windows that were written.", ("topic", "partition")
    ),
    "millstream_unwatched_records_total": Metric(
        "counter", "Records in such windows that could not be decoded.", ("topic", "partition")
    ),
    "millstream_window_timestamp_seconds": Metric(
        "gauge", "Time of the last record in the newest window that was written.", ("topic", "partition")
    ),
    "millstream_findings": Metric("gauge", "Findings of drift that have not ended."),
    # notifier
    "millstream_deliveries_total": Metric(
        "counter", "Attempts to deliver, accepted or failed; reminders of an Alertmanager count.", ("target", "state")
    ),
    "millstream_alerts_delivered_total": Metric("counter", "Alerts that the target has accepted.", ("target",)),
    "millstream_alerts_lost_total": Metric(
        "counter", "Alerts that were given up: refused, or undelivered for three days.", ("target",)
    ),
    "millstream_target_failing": Metric("gauge", "1 while the last attempt to deliver has failed.", ("target",)),
}
