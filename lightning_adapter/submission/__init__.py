"""How does an experiment get from this machine to a cluster, and what becomes of it there?"""
