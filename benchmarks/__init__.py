"""What Millstream is held to in figures; `python -m benchmarks --help` lists them."""
