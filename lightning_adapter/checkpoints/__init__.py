"""What is saved and restored, and how does a file stay whole or absent?"""
