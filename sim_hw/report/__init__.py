"""What a run leaves behind: summary, report, charts, files."""
