"""How does what a trial on a cluster has left become a run directory on this machine?"""
