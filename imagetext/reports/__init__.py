"""Predictions and labels -> numbers, tables, pictures. Plain arrays in, files out."""
