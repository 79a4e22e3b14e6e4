//go:build ignore

// This program writes data/orders.csv and data/consultations.csv. Its seed is fixed,
// so it writes the same files each time:
//
//	go generate ./cmd/millrace/demo
package main

import (
	"encoding/csv"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
)

var draw = rand.New(rand.NewPCG(20260302, 9))

func one[T any](of []T) T       { return of[draw.IntN(len(of))] }
func chance(percent int) bool   { return draw.IntN(100) < percent }
func between(low, high int) int { return low + draw.IntN(high-low+1) }
func mobile() string            { return fmt.Sprintf("+82 10-%04d-%04d", draw.IntN(10000), draw.IntN(10000)) }
func write(path string, rows [][]string) {
	f, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	w := csv.NewWriter(f)
	if err := w.WriteAll(rows); err != nil {
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}
}

var (
	family = []string{"김", "이", "박", "최", "정", "강", "조", "윤", "장", "임", "한", "오", "서", "신", "권", "황", "안", "송", "류", "홍"}
	given  = []string{"민준", "서연", "도윤", "지우", "예준", "하은", "시우", "수아", "주원", "지유", "하준", "서윤", "지호", "채원", "준서", "다은", "현우", "은서", "유진", "소율"}
	abroad = []string{"Emma Clark", "Liam Walker", "Olivia Reed", "Noah Hughes", "Ava Brooks", "Lucas Meyer", "Mia Fischer", "Yusuf Al Khalifa", "Layla Hasan", "Aiko Tanaka", "Haruto Sato", "Yui Suzuki"}
	goods  = []struct {
		name string
		won  int
	}{
		{"선크림 SPF50+ 50ml / Sun cream", 24000}, {"히알루론산 앰플 30ml / Hyaluronic ampoule", 38000}, {"시카 재생 크림 / Cica recovery cream", 32000},
		{"비타민 C 세럼 / Vitamin C serum", 45000}, {"약산성 클렌징 폼 / Mild cleansing foam", 18000}, {"마스크팩 10매 / Sheet masks, 10", 15000},
		{"탈모 완화 샴푸 / Scalp shampoo", 29000}, {"콜라겐 젤리 30포 / Collagen jelly, 30", 52000}, {"오메가3 90캡슐 / Omega-3, 90 capsules", 34000},
		{"치아 미백 키트 / Tooth whitening kit", 89000}, {"구강 세정기 / Water flosser", 119000}, {"무릎 보호대 / Knee brace", 41000},
		{"목 견인 베개 / Neck traction pillow", 67000}, {"LED 마스크 / LED mask", 380000}, {"시술 후 진정 세트 / After-care set", 74000},
		{"프로바이오틱스 / Probiotics", 27000}, {"압박 스타킹 / Compression stockings", 36000}, {"혈압계 / Blood pressure monitor", 98000},
	}
	places = []struct{ postcode, line, city string }{
		{"04524", "서울특별시 중구 세종대로 110", "서울"}, {"06236", "서울특별시 강남구 테헤란로 152", "서울"}, {"03925", "서울특별시 마포구 월드컵북로 396", "서울"},
		{"48058", "부산광역시 해운대구 센텀중앙로 79", "부산"}, {"41585", "대구광역시 북구 옥산로 65", "대구"}, {"34126", "대전광역시 유성구 대학로 99", "대전"},
		{"61945", "광주광역시 서구 내방로 111", "광주"}, {"21999", "인천광역시 연수구 송도과학로 27", "인천"}, {"16499", "경기도 수원시 영통구 도청로 30", "수원"},
		{"63122", "제주특별자치도 제주시 문연로 6", "제주"}, {"40210", "경상북도 울릉군 울릉읍 도동길 75", "울릉"}, {"24266", "강원특별자치도 춘천시 중앙로 1", "춘천"},
	}
)

func korean() string { return one(family) + one(given) }

func orders() [][]string {
	rows := [][]string{{"order_key", "kind", "item", "user_id", "email", "language", "amount", "currency", "method", "address", "name", "phone", "postcode", "line1", "line2", "city", "country"}}
	for i := range 1000 {
		user := 1000 + draw.IntN(700)
		foreign := user%8 == 0
		thing := one(goods)
		won := thing.won * between(1, 3)
		currency, amount := "KRW", won
		name, language := korean(), "ko"
		place := one(places)
		postcode, line1, line2, city, country := place.postcode, place.line, fmt.Sprintf("%d동 %d호", between(101, 120), between(101, 2004)), place.city, "KR"
		if foreign {
			name, language, line2 = one(abroad), "en", fmt.Sprintf("Apt %d", between(101, 2004))
			switch draw.IntN(5) {
			case 0:
				currency, amount = "USD", won/13 // cents
				postcode, line1, city, country = one([]string{"10001", "94103", "60601", "96815"}), fmt.Sprintf("%d Main St", between(1, 999)), one([]string{"New York", "San Francisco", "Chicago", "Honolulu"}), "US"
			case 1:
				currency, amount = "JPY", won/9
				postcode, line1, city, country = one([]string{"150-0002", "530-0001", "810-0001"}), "1-2-3 Chuo", one([]string{"Tokyo", "Osaka", "Fukuoka"}), "JP"
			case 2:
				currency, amount = "EUR", won/15
				if chance(20) {
					postcode, line1, city, country = "10115", "Invalidenstraße 43", "Berlin", "DE"
				}
			case 3:
				currency, amount = "BHD", won*27/100 // fils: three decimals
			}
		}
		if chance(7) {
			postcode, line1, country = "00000", "주소 미상", "KR"
		}
		when := "before"
		if chance(4) {
			when = "after"
		}
		rows = append(rows, []string{
			fmt.Sprintf("goods-%d", 20260001+i), "goods", thing.name, fmt.Sprintf("user-%d", user), fmt.Sprintf("user%d@%s.example", user, one([]string{"mail", "post", "news"})),
			language, strconv.Itoa(amount), currency, one([]string{"card", "card", "card", "bank_transfer", "kakao_pay", "naver_pay"}), when,
			name, mobile(), postcode, line1, line2, city, country,
		})
	}
	return rows
}

var (
	asks = []string{
		"post CUSTOMER 안녕하세요, 이번 주 금요일에 예약 가능할까요?", "post CUSTOMER 시술 시간이 얼마나 걸리나요?", "post CUSTOMER 주차 가능한가요?",
		"post CUSTOMER Hello, do you have a doctor who speaks English?", "post CUSTOMER Is the price for one session or for three?",
	}
	answers = []string{
		"post HOSPITAL 네, 오후 3시 이후 가능합니다.", "post HOSPITAL 약 40분 정도 걸립니다.", "post HOSPITAL 건물 지하에 두 시간 무료입니다.",
		"post HOSPITAL Yes, Dr. Han speaks English.", "post HOSPITAL It is for three sessions, and the first visit is free.",
	}
	memos = []string{"memo 알레르기 없음, 오전 선호", "memo Prefers a call after 6 pm", "memo 이전 방문 기록 있음"}
)

func consultations() [][]string {
	rows := [][]string{{"hospital_id", "member_id", "email", "language", "opened_by", "visitor_name", "phone", "reservation_at", "deposit_amount", "deposit_currency", "script"}}
	day := time.Date(2027, 3, 2, 10, 0, 0, 0, time.FixedZone("KST", 9*3600))
	for i := range 200 {
		member := 90001 + i
		name, language := korean(), "ko"
		if member%6 == 0 {
			name, language = one(abroad), "en"
		}
		opened, amount, currency := "MEMBER", "", ""
		at := day.AddDate(0, 0, between(0, 25)).Add(time.Duration(between(0, 14)) * 30 * time.Minute)
		later := at.AddDate(0, 0, between(1, 10)).Format(time.RFC3339)
		about := draw.IntN(3) // the first three texts are Korean
		if language == "en" {
			about = between(3, 4)
		}
		talk := []string{asks[about], answers[about]}
		var script []string
		switch i % 10 {
		case 0, 1: // all the way to the end
			script = append(talk, "move CONTACTING HOSPITAL", one(memos), "move COUNSELED HOSPITAL", "move FIXED HOSPITAL", "time MEMBER "+later, "move VISITED HOSPITAL", "move TREATED HOSPITAL", "move CLOSED HOSPITAL")
		case 2, 3: // paying the deposit confirms the reservation
			amount, currency = "30000", "KRW"
			if language == "en" {
				amount, currency = one([]string{"2500", "4000"}), "USD"
			}
			script = append(talk, "move CONTACTING HOSPITAL", "deposit", "post CUSTOMER 예약금을 결제했습니다. / I have paid the deposit.")
		case 4: // the deposit is refunded
			amount, currency = "50000", "KRW"
			script = append(talk, "deposit", "time HOSPITAL "+later, "post CUSTOMER 죄송하지만 취소할게요. / Sorry, I have to cancel.", "move CANCELED MEMBER")
		case 5:
			script = append(talk, "move FIXED HOSPITAL", "time HOSPITAL "+later, "time MEMBER "+at.Add(time.Hour).Format(time.RFC3339), "move CANCELED HOSPITAL")
		case 6:
			script = []string{"move CONTACTING HOSPITAL", "move ABSENT HOSPITAL", "move RECONTACT HOSPITAL", answers[about], "move HOLD HOSPITAL", "move CANCELED SYSTEM"}
		case 7: // no reservation
			opened = "HOSPITAL"
			script = []string{answers[about], one(memos), "move FIXED HOSPITAL", "move NO_SHOW HOSPITAL"}
		case 8: // paid after the cancellation: the deposit is refunded
			amount, currency = "20000", "KRW"
			script = []string{asks[about], "move REJECTED HOSPITAL", "deposit"}
		case 9:
			script = append(talk, one(memos), "move CANCELED MEMBER", "post HOSPITAL 다음에 뵙겠습니다. / See you another time.")
		}
		rows = append(rows, []string{
			strconv.Itoa(one([]int{4848, 4849, 5120, 7001})), strconv.Itoa(member), fmt.Sprintf("member%d@mail.example", member), language, opened,
			name, mobile(), at.Format(time.RFC3339), amount, currency, strings.Join(script, " | "),
		})
	}
	return rows
}

func main() {
	write("data/orders.csv", orders())
	write("data/consultations.csv", consultations())
}
