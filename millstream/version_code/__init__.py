"""The code that travels with a version: collected, signed with it, and run in a namespace of its own."""
