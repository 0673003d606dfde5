"""What differs between versions of the hosts, and which of their private names are touched?"""
