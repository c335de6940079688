"""The spool: what servers answered and took, on disk, until the forwarder has put it onto Kafka."""
