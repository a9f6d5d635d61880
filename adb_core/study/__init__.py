"""The study behind the collection's claims: recipes x concepts x seeds x prompts, one command.

``adb evaluate`` trains every recipe on every concept, long, measures it on its way, and writes one
table and one summary. A cell (recipe, concept, seed) is a file that is made once.

- ``plan``     what is compared, and what speaks against it before anything runs
- ``bench``    what all cells share: model, judge, the true pictures; and how a model is measured
- ``cell``     one cell: made, gone on with after an interruption, made again to be checked
- ``run``      all cells, also by several processes side by side
- ``table``    every number, tidy: one row a recipe, concept, seed, moment and complexity
- ``summary``  what is concluded: intervals, frontiers, corrected comparisons; and the figures
"""
