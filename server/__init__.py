"""Answers over HTTP: a spool on disk, the answering of events, the web server, and the forwarder to Kafka."""
