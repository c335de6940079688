"""Topics of a stream: creation, access rights, export, deletion."""
