"""What the reports of all tasks share. Nothing in here knows a task."""
