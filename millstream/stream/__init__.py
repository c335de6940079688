"""The stream file: `Stream`, its loading, its definition."""
