"""From a file on disk to an object that is verified and recorded; large ones in parts."""
