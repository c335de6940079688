"""The exactly-once loop of every role: reading, transactions, takeover, start offsets, alerts, dead letters."""
