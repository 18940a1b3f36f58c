"""Takes readings over HTTP and puts them, checked and columnar, into the stream."""
