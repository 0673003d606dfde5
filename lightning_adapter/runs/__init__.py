"""What does a local run leave on the disk, and which of it is kept?"""
