use super::*;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

async fn asked(lab: &Lab, path: &str, accept: &str) -> (u16, String, Value) {
    let request = Request::builder().uri(path).header("accept", accept).body(Body::empty()).unwrap();
    let response = lab.sandbox.router().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let kind = head.headers["content-type"].to_str().unwrap().to_owned();
    (head.status.as_u16(), kind, serde_json::from_slice(&bytes).unwrap())
}

fn lab() -> Lab {
    Lab::new(&format!("{}{}{}", nodes(3), shop(), workload("Deployment", "web", 3, "")))
}

#[tokio::test]
async fn lists_and_objects_become_tables() {
    let lab = lab();
    let (code, _, table) = asked(&lab, "/api/v1/nodes?limit=2", TABLE).await;
    assert_eq!((code, &table["kind"], &table["apiVersion"]), (200, &json!("Table"), &json!("meta.k8s.io/v1")));
    let columns: Vec<(&str, i64)> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["name"].as_str().unwrap(), column["priority"].as_i64().unwrap()))
        .collect();
    assert_eq!(columns[..5], [("Name", 0), ("Status", 0), ("Roles", 0), ("Age", 0), ("Version", 0)]);
    assert!(columns[5..].iter().all(|(_, priority)| *priority == 1));
    assert_eq!(table["rows"].as_array().unwrap().len(), 2);
    assert_ne!(table["metadata"]["continue"], Value::Null, "pages go on");
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..4],
        [json!("n1"), json!("Ready"), json!("<none>"), json!("60m")]
    );
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["spec"], Value::Null);
    let (_, _, one) = asked(&lab, "/api/v1/nodes/n2?includeObject=Object", TABLE).await;
    assert_eq!((&one["rows"][0]["cells"][0], &one["rows"][0]["object"]["kind"]), (&json!("n2"), &json!("Node")));
    let (_, _, bare) = asked(&lab, "/api/v1/nodes/n2?includeObject=None", TABLE).await;
    assert_eq!(bare["rows"][0]["object"], Value::Null);
    // What is no table stays what it is, and who takes neither is told.
    let (code, _, missing) = asked(&lab, "/api/v1/nodes/n9", TABLE).await;
    assert_eq!((code, &missing["kind"]), (404, &json!("Status")));
    let (code, _, status) = asked(&lab, "/api/v1/nodes", "application/vnd.kubernetes.protobuf").await;
    assert_eq!((code, &status["reason"]), (406, &json!("NotAcceptable")));
}

#[tokio::test]
async fn a_watch_of_rows_brings_its_columns_once() {
    let lab = lab();
    let request = Request::builder()
        .uri("/api/v1/nodes?watch=1&timeoutSeconds=1")
        .header("accept", TABLE)
        .body(Body::empty())
        .unwrap();
    let response = lab.sandbox.router().oneshot(request).await.unwrap();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let events: Vec<Value> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let columns = |event: &Value| event["object"]["columnDefinitions"].as_array().unwrap().len();
    assert_eq!(events.iter().map(columns).collect::<Vec<_>>(), [10, 0, 0]);
    assert!(events.iter().all(|event| event["object"]["rows"].as_array().unwrap().len() == 1));
}

#[tokio::test]
async fn discovery_in_one_answer_says_the_same_as_in_many() {
    let lab = lab();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let mut at_once = Vec::new();
    for root in ["/api", "/apis"] {
        let (_, kind, all) = asked(&lab, root, accept).await;
        assert!(kind.contains("as=APIGroupDiscoveryList"), "{kind}");
        for group in all["items"].as_array().unwrap() {
            for resource in group["versions"][0]["resources"].as_array().unwrap() {
                at_once.push((resource["resource"].clone(), resource["shortNames"].clone()));
            }
        }
    }
    let mut one_by_one = Vec::new();
    let (_, _, groups) = asked(&lab, "/apis", "application/json").await;
    let versions = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| format!("/apis/{}", group["preferredVersion"]["groupVersion"].as_str().unwrap()));
    for path in std::iter::once("/api/v1".to_owned()).chain(versions) {
        let (_, _, list) = asked(&lab, &path, "application/json").await;
        for resource in list["resources"].as_array().unwrap() {
            if !resource["name"].as_str().unwrap().contains('/') {
                one_by_one.push((resource["name"].clone(), resource["shortNames"].clone()));
            }
        }
        let (code, _, schema) = asked(&lab, &format!("/openapi/v3{path}"), "application/json").await;
        assert_eq!((code, schema["paths"].as_object().unwrap().is_empty()), (200, false), "{path}");
    }
    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.len(), Kind::ALL.len());
}

#[tokio::test]
async fn rights_are_asked_for_in_any_encoding() {
    let lab = lab();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = lab.send("POST", path, "application/vnd.kubernetes.protobuf", "k8s").await;
    assert_eq!((answer.code, &answer.body["status"]["allowed"]), (201, &json!(true)));
    let refused = lab.send("POST", "/api/v1/namespaces", "application/vnd.kubernetes.protobuf", "k8s").await;
    assert_eq!((refused.code, refused.body["reason"].as_str()), (415, Some("UnsupportedMediaType")));
}
