"""What the reports of all tasks are made of."""
