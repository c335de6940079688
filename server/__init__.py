"""Answers over HTTP: spool, answering, web server, and forwarder to Kafka."""
