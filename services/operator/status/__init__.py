"""What people read of the custom resources: conditions, events, reports, refusals."""
