"""Status of a running stream: a snapshot of the cluster, the report from it, and its rendering."""
