"""`rsgrpo verify`: reads a run again and says where its files disagree with each other.

verification    goes through a run; places: what to look at
presence        whether all files are there; kinds: whether a file is what its name says
steps, tags, evaluations   whether rows follow from those that they were made from
findings        what was found, and the command that mends it
"""
