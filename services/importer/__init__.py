"""Files and folders brought in, exactly once, however often it is begun: what `millrace import` does.

`forms` tells what a file is and which door takes it. `text` and `columns` read files piece by piece; texts are cut
between `records` alone. `pieces` are what is posted, each under a key made from its content and position. `state`
keeps on disk which pieces were sent, so that a file that grows goes on where it ended. `files` brings these together:
what of which file is still to be sent. `delivery` posts it, and finds out which records are wrong.
"""
