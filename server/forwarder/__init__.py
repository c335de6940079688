"""The forwarder: puts what servers on this machine wrote to their spool onto Kafka."""
