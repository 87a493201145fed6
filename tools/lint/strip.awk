# Blanks comments, string and character literals of C, keeping every line in its place, so that a search finds
# code only. Output lines are "FILE:LINE:CODE".
FNR == 1 { in_comment = 0 }
{
	line = $0; out = ""; n = length(line); i = 1; quote = ""
	while (i <= n) {
		two = substr(line, i, 2); one = substr(line, i, 1)
		if (in_comment) {
			if (two == "*/") { in_comment = 0; i++ }
		} else if (quote != "") {
			if (one == "\\") i++
			else if (one == quote) quote = ""
		} else if (two == "/*") { in_comment = 1; out = out " "; i++ }
		else if (two == "//") break
		else if (one == "\"" || one == "'") { quote = one; out = out one one }
		else out = out one
		i++
	}
	print FILENAME ":" FNR ":" out
}
