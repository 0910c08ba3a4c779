package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// webhookLine is the one line that webhook prints on stdout.
type webhookLine struct {
	URL string `json:"url"` // https://127.0.0.1:PORT, without a path
	CA  string `json:"ca"`  // caBundle, base64
}

// webhookMain serves until stdin closes. What it answers is in the path:
//
//	/deny/429      every eviction is denied with this code
//	/deny/403/3    the first three evictions of each pod are, later ones go
//	/error         the webhook itself fails: HTTP 500
//	/hang          no answer ever comes
func webhookMain() int {
	hook := &webhook{denied: map[string]int{}, stop: make(chan struct{})}
	server := httptest.NewTLSServer(hook)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	line, err := json.Marshal(webhookLine{URL: server.URL, CA: base64.StdEncoding.EncodeToString(ca)})
	if err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		return 1
	}
	fmt.Println(string(line))
	_, _ = os.Stdin.Read(make([]byte, 1))
	close(hook.stop)
	server.Close()
	return 0
}

// webhook answers admission reviews.
type webhook struct {
	mu     sync.Mutex
	denied map[string]int // how often, by path and pod
	stop   chan struct{}
}

func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "not an admission review", http.StatusBadRequest)
		return
	}
	answer := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	words := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch words[0] {
	case "error":
		http.Error(w, "the webhook has lost its database", http.StatusInternalServerError)
		return
	case "hang":
		select {
		case <-h.stop:
		case <-r.Context().Done():
		}
		return
	case "deny":
		if h.denies(words[1:], r.URL.Path, review.Request.Namespace+"/"+review.Request.Name) {
			code, _ := strconv.ParseInt(words[1], 10, 32)
			answer.Allowed = false
			answer.Result = &metav1.Status{
				Status: metav1.StatusFailure, Code: int32(code), Reason: reasonOf(int32(code)),
				Message: "Pod will be rolled by the operator",
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: answer})
}

// denies is whether this eviction of a pod is denied: the first few, where the
// path says how many, otherwise each.
func (h *webhook) denies(words []string, path, pod string) bool {
	if len(words) < 2 {
		return true
	}
	first, err := strconv.Atoi(words[1])
	if err != nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.denied[path+" "+pod]++
	return h.denied[path+" "+pod] <= first
}

func reasonOf(code int32) metav1.StatusReason {
	if code == http.StatusTooManyRequests {
		return metav1.StatusReasonTooManyRequests
	}
	return metav1.StatusReasonForbidden
}
