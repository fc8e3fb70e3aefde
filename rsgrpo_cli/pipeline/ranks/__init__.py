"""One update over several processes, each of which has a part of the model.

together        the update as `train` asks for it
launcher, torchrun, rank_process   starting the processes, and noticing when one ends
rank, rank_order   what a process does, and which part of a batch is its own
"""
