package notification

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/notification/notificationapi"
	"millrace/modules/payment/paymentapi"
)

// rawCode matches program codes, which no mail may show.
var rawCode = regexp.MustCompile(`[a-z]+_[a-z_]+|[A-Z]{4,}|http_\d+`)

// free holds reasons that an API caller may write as free text.
var free = []string{"", "other", "http_502", "a_code_of_tomorrow", "CHARGED_BACK", "김민준 고객 전화 요청 010-1234-5678", "kim asked for it by phone"}

func TestRender_ShowsNoReasonCodes(t *testing.T) {
	t.Parallel()
	values := map[string][]string{
		paramOrderKind: {string(paymentapi.Goods), string(paymentapi.Deposit)},
		paramAmount:    {"15000"}, paramCurrency: {"KRW", "USD", "JPY"},
		paramCarrier: {"cj-logistics", "korea-post", "ems"}, paramTrackingNumber: {"CJ000000000017"},
		notificationapi.ParamConsultationID: {"17"}, notificationapi.ParamActor: actors,
	}
	reasons := map[string][]string{
		paymentFailed:   append(slices.Collect(maps.Keys(failures)), append(codesOfPayment(t), free...)...),
		paymentRefunded: append(reasonsOfRefunds(), free...),
	}
	for template := range templates {
		all := []notification{{UserID: "1001", Template: template, Subject: "goods-17", Params: map[string]string{}}}
		for _, name := range templates[template] {
			given := values[name]
			if name == paramReason {
				given = reasons[template]
			}
			require.NotEmpty(t, given, "%s of %s", name, template)
			var more []notification
			for _, n := range all {
				for _, value := range given {
					n.Params = maps.Clone(n.Params)
					n.Params[name] = value
					more = append(more, n)
				}
			}
			all = more
		}
		for _, n := range all {
			require.NoError(t, n.check())
			for _, lang := range []language{korean, english} {
				r, err := render(n, lang)
				require.NoError(t, err)
				mail := r.Title + "\n" + r.Text
				require.Empty(t, rawCode.FindString(mail), "%v in %s:\n%s", n.Params, lang, mail)
				require.NotContains(t, mail, "phone")
				require.NotContains(t, mail, "010-")
				require.NotRegexp(t, `(?i)fraud|사기|부정|도난`, mail)
				require.NotRegexp(t, `(?m): *$`, mail, "a line without its value")
				if lang == english {
					require.False(t, strings.ContainsFunc(mail, hangul), mail)
				}
			}
		}
	}
}

func TestReasons_EveryKnownCodeHasAPhrase(t *testing.T) {
	t.Parallel()
	for _, code := range codesOfPayment(t) {
		require.Contains(t, failures, code, "a payment code without a phrase in reasons.go")
	}
	for name, phrases := range map[string]map[string]phrase{"failures": failures, "refunds": refunds, "actors": actorNames, "carriers": carriers} {
		for code, p := range phrases {
			require.NotEmpty(t, p.korean, "%s: %s", name, code)
			require.NotEmpty(t, p.english, "%s: %s", name, code)
		}
	}
	for _, reason := range reasonsOfRefunds() {
		require.NotEqual(t, wentBack.korean, refundReason(korean, reason), "%q gets the general phrase", reason)
	}
	require.Equal(t, notApproved.korean, failureReason(korean, "suspected_fraud"))
	require.Equal(t, failureReason(english, "a_code_of_tomorrow"), failureReason(english, "suspected_fraud"), "fraud gets the general phrase")
	for _, actor := range actors {
		require.Contains(t, actorNames, actor)
	}
}

// reasonsOfRefunds returns the refund codes, including those of earlier
// versions.
func reasonsOfRefunds() []string {
	all := slices.DeleteFunc(slices.Clone(paymentapi.RefundReasons), func(code string) bool { return code == paymentapi.OtherReason })
	for _, status := range consultationapi.Statuses() {
		all = append(all, "the deposit was paid after the consultation was "+string(status))
		for _, actor := range actors {
			all = append(all, "the consultation was "+string(status)+" by "+actor)
		}
	}
	return all
}

// codesOfPayment returns the codes in payment's sources that can become a
// failedReason: from the gateway's contract, the strategies and the simulator.
func codesOfPayment(t *testing.T) (codes []string) {
	t.Helper()
	code := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	add := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil && code.MatchString(text) {
					codes = append(codes, text)
				}
			}
			return true
		})
	}
	const payment = "../payment"
	require.NoError(t, filepath.WalkDir(payment, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if n.Names[0].Name == "declineReasons" {
					add(n)
				}
			case *ast.CompositeLit: // reject{"declined"}
				if name, ok := n.Type.(*ast.Ident); ok && name.Name == "reject" {
					add(n)
				}
			case *ast.KeyValueExpr: // "POST charges": {"limit_exceeded": refusal}
				if key, ok := n.Key.(*ast.BasicLit); ok && key.Value == `"POST charges"` {
					add(n.Value)
				}
			case *ast.AssignStmt: // x.FailedReason = "issuer_unavailable"
				for i, left := range n.Lhs {
					if field, ok := left.(*ast.SelectorExpr); ok && field.Sel.Name == "FailedReason" && len(n.Rhs) == len(n.Lhs) {
						add(n.Rhs[i])
					}
				}
			}
			return true
		})
		return nil
	}))
	// These codes explain a refused refund, not a failed payment.
	codes = slices.DeleteFunc(codes, func(code string) bool { return code == "not_captured" || code == "amount" })
	slices.Sort(codes)
	codes = slices.Compact(codes)
	require.Subset(t, codes, []string{"suspected_fraud", "card_expired", "declined", "limit_exceeded", "issuer_unavailable"}, "the sources were found")
	return codes
}
