# Verbs only; what they do is in scripts/.
.PHONY: check test matrix demo bench reference clean

check:
	@scripts/check

test:
	@scripts/test

matrix:
	@scripts/matrix

demo:
	@scripts/demo

bench:
	@scripts/bench

reference:
	@scripts/reference

clean:
	rm -rf .venv .cache .*_cache .hypothesis build dist
