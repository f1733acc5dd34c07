
// The viewer-request function of CloudFront. Its cache policy: infra/edge/README.md.
function handler(event) {
    const request = event.request;
    const headers = request.headers;
    const query = request.rawQueryString() || '';
    const routed = route({
        host: line(headers.host),
        path: request.uri,
        query: query,
        accept: line(headers.accept),
        keyed: Boolean(headers['x-packshot-access-key'] || headers['x-vimond-access-key'])
    }, SETTINGS);
    // The header is part of the cache key, so unchanged and normalized requests never share an entry.
    delete headers['x-packshot-cache'];
    if (!routed.cache) {
        return request;
    }
    headers['x-packshot-cache'] = {value: '1'};
    request.uri = routed.path;
    if (routed.query !== query) {
        request.querystring = {};
        routed.query.split('&').filter(Boolean).forEach(pair => {
            const end = pair.indexOf('=');
            request.querystring[pair.slice(0, end)] = {value: pair.slice(end + 1)};
        });
    }
    request.cookies = {};
    delete headers.authorization;
    delete headers.accept;
    if (routed.accept) {
        headers.accept = {value: routed.accept};
    }
    return request;
}

function line(header) {
    if (!header) {
        return '';
    }
    return header.multiValue ? header.multiValue.map(one => one.value).join(',') : header.value;
}
