#!/usr/bin/env python3
"""Repairs by the definition in core/rudp/reed_solomon.h, sharing no code with it: prints the vectors of
reed_solomon_test.cc. Products are those of polynomials, inverses are searched for, nothing is looked up."""

SOURCES, REPAIRS, SIZE = 64, 32, 24


def multiply(a, b):
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << (bit - 8)
    return product


def inverse(a):
    return next(b for b in range(1, 256) if multiply(a, b) == 1)


def factor(repair, source):
    return multiply(inverse((64 + repair) ^ source), 64 ^ source)


def byte(source, position):
    return (source * 89 + position * 151 + source * position * 7 + 31) % 256


for repair in (0, 1, 2, 7, 31):
    symbol = bytearray(SIZE)
    for source in range(SOURCES):
        times = factor(repair, source)
        for position in range(SIZE):
            symbol[position] ^= multiply(times, byte(source, position))
    print(f'    {{{repair}, "{symbol.hex()}"}},')
