"""Exactly-once loop of every role: reading, transactions, takeover, alerts, dead letters."""
