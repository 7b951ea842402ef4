"""Numbers from plain arrays: each with its confidence interval."""
