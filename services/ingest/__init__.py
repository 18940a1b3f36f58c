"""Takes readings over HTTP and puts them, checked and columnar, into the stream.

A request comes by the ``direct`` way where it is plain, else by the ``fast_path``, to its door in ``doors/``, which
reads its protocol. ``accept`` takes it past the ``limits/``, with ``readings`` checked, by ``commit/`` into the stream,
and where it is asked for, on to the ledger's ``receipts``. Formats that are no protocols stand in ``formats/``;
``admin/`` is the port for what people do by hand.
"""
