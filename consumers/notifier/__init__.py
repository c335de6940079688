"""Role notifier: delivers alerts to the targets of a stream, in the order of the alerts topic."""
