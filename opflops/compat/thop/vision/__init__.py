"""The rules of thop by the names under which users import them.

May import what :mod:`opflops.compat` may; :mod:`opflops.compat.thop` imports it.
"""
