"""Report: the page, the card and the pictures, all made from the record of a run."""
