"""The demo: a whole stream on the embedded broker, drawn while it runs."""
