"""Modules that scripts commonly use, imported once in the zygote: a script finds them at no cost.

Light ones only: each adds pages to every fork (hashlib, subprocess and the like a tenth of a millisecond apiece), and
nothing here may start a thread or open a file.
"""

import collections as collections
import csv as csv
import dataclasses as dataclasses
import datetime as datetime
import functools as functools
import io as io
import itertools as itertools
import json as json
import math as math
import os as os
import pathlib as pathlib
import random as random
import re as re
import string as string
import sys as sys
import textwrap as textwrap
import time as time
import typing as typing
