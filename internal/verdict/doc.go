package verdict

import "strings"

// Doc tells people what a Reason means.
type Doc struct {
	Reason Reason
	Cause  string // what brings it about, one sentence
	Do     string // what to do about it; "Nothing." where all is well
	// Next is the command that shows or changes what it is about, with NAME and NAMESPACE standing for those of the Service
	// or the object that the Reason stands on, HOME for the namespace of the configuration; "" where there is none.
	Next string
}

// Topic is what the Reasons of a kind have in common.
type Topic struct {
	Title string
	Where string // where they show, one sentence
	Docs  []Doc
}

// Doc returns what is to be said of the reason, and false for one that is none of ours.
func (r Reason) Doc() (Doc, bool) {
	for _, t := range Topics() {
		for _, d := range t.Docs {
			if d.Reason == r {
				return d, true
			}
		}
	}
	return Doc{}, false
}

// Page returns the page of the documentation that lists all Reasons, as Markdown.
func Page() string {
	var b strings.Builder
	b.WriteString("# Reasons\n\n")
	b.WriteString("Every decision of Fairlead is told as a reason, which is one word for machines, and a sentence for people. These are all\n")
	b.WriteString("reasons; they stay the same from release to release. `fairlead explain` tells which of them holds, and why.\n\n")
	b.WriteString("<!-- Generated from internal/verdict by: go test ./internal/verdict -update -->\n")
	for _, t := range Topics() {
		b.WriteString("\n## " + t.Title + "\n\n" + t.Where + "\n")
		for _, d := range t.Docs {
			b.WriteString("\n### " + string(d.Reason) + "\n\n" + d.Cause + "\n\n**What to do:** " + d.Do + "\n")
			if d.Next != "" {
				b.WriteString("\n    " + d.Next + "\n")
			}
		}
	}
	return b.String()
}
