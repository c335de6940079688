"""Stream files written from data: what `init` infers from files and topics."""
