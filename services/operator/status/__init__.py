"""What people read of the custom resources: reports as conditions and fields, events, and the writer of both."""
