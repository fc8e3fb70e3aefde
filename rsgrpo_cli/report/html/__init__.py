"""The HTML page of `report --html` and `view`: one file that needs no network, made from what is on disk.

collect    what the page shows, as one JSON object
page       that object and the assets as a file
server     the same page on 127.0.0.1
"""
