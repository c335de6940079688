"""Reading of topics outside a role: ranges, offsets, timestamps."""
