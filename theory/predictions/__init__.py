"""The numbers of the wide limit: rows, their values, errors and statuses."""
