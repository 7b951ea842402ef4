"""Reports: plain arrays of predictions in; numbers, tables, pictures and pages out."""
